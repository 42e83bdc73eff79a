"""Studies: the evidence for or against memory, from settings to report; only this project needs them."""
