from confirma_async.sandbox import ReceivedRequest


def test_repr_holds_no_token_and_no_body() -> None:
    """A request shown in a failed assertion gives away neither its token nor its content."""
    request = ReceivedRequest(number=1, method="POST", path="/x", token="t0ken", body=b"private")
    assert "t0ken" not in repr(request)
    assert "private" not in repr(request)
    assert "/x" in repr(request)
