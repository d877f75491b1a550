"""Tests of the page that `addon-export report` writes."""
