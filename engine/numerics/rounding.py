"""Unit round-offs: the largest relative error of rounding one number, on which bounds of longer computations rest.

A sum of n products in precision u errs by at most n u times the sum of the products' sizes, in whatever order it is
computed (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1).
"""

UNIT = 2.0**-24
"""Unit round-off of float32."""
HALF_UNIT = 2.0**-11
"""Unit round-off of half precision."""
DOUBLE_UNIT = 2.0**-53
"""Unit round-off of float64."""
