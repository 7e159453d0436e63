"""The command `confirma`: what the library does, for people who write no Python. Needs the extra `cli`.

    app.py           the commands, their options and help texts; every mistake ends as one sentence here
    push_command.py  `confirma push`      demo_command.py  `confirma demo`      sandbox_command.py  `confirma sandbox`
    connection.py    options and environment variables -> where to send, with which token
    source.py        a file or standard input -> entries, read as they are needed
    layout.py        how the input is laid out: JSON Lines, or a document
    entry.py         one JSON text -> an action, or its mistakes
    run.py           entries through a client, up to the end of each
    account.py       what became of them        summary.py   the account in words
    display.py       how it goes, on standard error         output.py    results, on standard output
    workload.py      the demo's actions         audit.py     do outcomes and ledger agree?

Nothing else of this package imports typer or rich, and nothing imports this but `confirma_async.__main__`.
"""
