"""SMART Health Links: a patient, or staff for one, gives a person a link to studies (docs/protocol/health-links.md).

================  ==================================================================================================
``keeping``       made, listed, taken back; who uses a token or a session under one, and which studies that shows
``opening``       what somebody with the link gets: the manifest, its files, how often they may try
``slots``         how many bundles are in memory at once
``tickets``       addresses of files that are good once, for an hour
``files``         what the two files say
``reports``       reports read from where they are stored, as documents
================  ==================================================================================================

One rule runs through it: whether a link is alive is asked each time, of the index, and a link that is over cannot be
told from one that never was. What is handed out under a link (tokens, sessions, addresses of files) never outlives it.
"""
