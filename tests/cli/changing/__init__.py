"""An index that is changed from the command line: what each command does, tells, and refuses."""
