"""The demo data: scenes composed from cut-outs and photographs, and the fetcher of both."""
