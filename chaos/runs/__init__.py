"""The measurements, each a row of the table of promises or a part of one; `registry` lists them."""
