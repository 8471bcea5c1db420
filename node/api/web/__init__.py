"""What the pages of console and portal share: templates, assets, error pages.

Pages work by plain links and forms; htmx makes them smoother where JavaScript runs. The policy (``PAGE_CSP``) allows
nothing inline: no script, no style attribute, no event handler in markup. What a page shows is escaped by the templates
(autoescape); nothing here marks text as safe that came from elsewhere.
"""
