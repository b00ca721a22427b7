"""What goes through the two Redises: messages to workers, searches under way, cached answers.

Importing it loads no model and needs no settings.
"""
