"""Images and labels: where they come from, how they are kept, how training reads them."""
