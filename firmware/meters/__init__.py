"""What is measured: profiles and their codec, the meters with the registers last read from them, readings."""
