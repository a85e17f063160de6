"""The zoo: kinds of task × verbs. Each cell is right by a truth of its own, or refused in words.

`case` says what a task of the zoo is, `plain` trains it as a plain PyTorch loop, `verbs` has one function per verb with
its truth, `tasks_*` have the tasks, each written as its users write it. `python -m tests.zoo` makes the table.
"""
