"""The trailing matrix where few of its effects meet: an order with little fill, its factor, parts of its inverse."""
