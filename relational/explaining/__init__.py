"""What an explanation is made of: costs, measurements, and ways to show them."""
