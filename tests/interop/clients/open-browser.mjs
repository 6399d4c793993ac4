// Stands in for a desktop's browser: tells the test which address was to be opened.
await fetch(process.env.INTEROP_BROWSER, { method: 'POST', body: new URLSearchParams({ url: process.argv[2] }) });
