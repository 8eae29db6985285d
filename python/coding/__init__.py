"""What is inside a `.rvl`: its container, and the whole-number statistics by which its numbers are coded."""
