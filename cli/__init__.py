"""The command `landscape`: one thin module a command, loaded when it is used."""
