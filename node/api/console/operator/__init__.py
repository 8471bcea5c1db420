"""The console for who runs the node: operators, and auditors, who look and change nothing.

Handlers read the form, call the use case that the REST resource of the same name calls, and answer with a page, or send
the browser on (Post/Redirect/Get). Three rules hold for all of them:

- What somebody else did meanwhile is no error page: the browser goes back to the list, which says what happened
  (:func:`desk.settle`).
- What cannot be undone is asked again on a page of its own, which works without scripts (:class:`desk.Question`).
- Addresses hold random ids and PeerIds, never patients and DICOM UIDs: those stand in forms, and in addresses only as
  handles (``api.console.handles``).
"""
