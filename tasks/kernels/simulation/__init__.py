"""A simulator of nuclei on microgrooves with known truth: shapes, populations, angles, neighbours."""
