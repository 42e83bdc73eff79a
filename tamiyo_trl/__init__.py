"""tamiyo_trl: a recurrent controller that watches a neural network train and decides when to grow it."""
