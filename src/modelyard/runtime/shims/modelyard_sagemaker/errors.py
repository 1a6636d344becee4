"""Errors that scripts catch or raise."""


class ClientError(Exception):
    """The caller, or the script, is at fault."""


class UnsupportedFormatError(Exception):
    """A content type that nobody can read or write."""

    def __init__(self, content_type: object, **kwargs: object) -> None:
        self.message = f"Content type {content_type} is not supported by this framework."
        super().__init__(self.message)


class ChannelDoesNotExistError(Exception):
    """A channel that the job does not have."""

    def __init__(self, channel_name: object) -> None:
        super().__init__(f"Channel {channel_name} is not a valid channel")
