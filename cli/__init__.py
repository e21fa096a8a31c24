"""The command `landscape`: one thin module per command, loaded when it is used."""
