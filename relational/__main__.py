"""`python -m relational`: the command line where its script is not on the path."""

from relational.command_line import main

main()
