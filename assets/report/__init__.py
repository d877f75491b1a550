"""The page that `addon-export report` writes: figures in, HTML out; pure."""
