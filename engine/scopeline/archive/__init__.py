"""Archive: thousands of recordings, many processes or machines, the same results as one recording alone."""
