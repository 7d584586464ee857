"""The commands of the command line, one file each: ``add_to(commands)`` says what one takes, and runs it.

None imports torch before it knows that what was asked for exists.
"""
