"""What patients do for themselves: see, share, know, bring.

Everything a patient reaches goes through ``records`` first: which studies are theirs, or of somebody they act for.
What is said to them is said by ``plain_words``, in the words of people, and translated at the edge.
"""
