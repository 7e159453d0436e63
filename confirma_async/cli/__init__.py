"""The command `confirma`: what the library does, for people who write no Python. Needs the extra `cli`.

    app.py           the commands, their options and help texts; every mistake ends as one sentence here
    push_command.py  `confirma push`      demo_command.py  `confirma demo`      sandbox_command.py  `confirma sandbox`
    options.py       options that several commands have
    connection.py    options and environment variables -> where to send, with which token
    source.py        a file or standard input -> entries, read as they are needed
    layout.py        how the input is laid out: JSON Lines, or a document
    entry.py         one JSON text -> an action, or its mistakes
    naming.py        ids for entries that have none
    work.py          what there is to send: the entries of an input, or the queue of a journal
    run.py           work through a client, up to the end of each action
    interruption.py  Ctrl-C and SIGTERM
    account.py       what became of them        summary.py   the account in words
    display.py       how it goes, on standard error         output.py    results, on standard output
    workload.py      the demo's actions

    journal_app.py   the commands under `confirma journal`  journal_command.py  what they do
    journaling.py    whether a push journals, and what to do about what a journal holds
    journal_view.py  a look at a journal that changes nothing            listing.py  what is told of its actions

Nothing else of this package imports typer or rich, and nothing imports this but `confirma_async.__main__`.
"""
