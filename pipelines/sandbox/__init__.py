"""A local stand-in for the part of Twilio's API the exporter reads, with made-up data.

For trying the exporter out without an account, and for tests. It imports nothing of the product.

    values, index -> world     the data, pure: what the source shows at a given instant
    contents -> made_up        data invented from a seed
    wire, paging -> answers    Twilio's JSON, paging, credentials, errors: a request in, a reply out
    server                     one ASGI callable for both origins: the API and the content storage
    run                        `Sandbox` (in a background thread) and `serve` (for the command line)
"""
