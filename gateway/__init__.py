"""The only door: who are you, what do you want, and one answer composed from the services.

Owns users, API tokens, sessions and the stored answers for replays; no business data. It decides
*who*; the services decide *whether*.
"""
