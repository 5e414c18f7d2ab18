"""The studio page: what `headcanon up` serves beside Prefect's UI, for people who train characters.

Everything on it comes from what the command line uses too, and every button creates or changes a flow run through
Prefect's API, or writes a file that the command line reads (docs/studio.md, docs/adr/0020-the-studio-page.md).
"""
