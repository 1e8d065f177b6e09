"""History as venues and vendors publish it, brought onto the tape."""
