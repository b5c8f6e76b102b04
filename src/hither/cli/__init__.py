"""The `hither` command, one file per sub-command."""
