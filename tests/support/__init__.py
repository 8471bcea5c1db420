"""What tests share: real programs, generated studies, nodes run through their public commands."""
