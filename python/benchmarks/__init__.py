"""What `ravel bench` measures against: the same networks written the plain way."""
