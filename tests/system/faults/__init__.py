"""The fault matrix: whatever a server or a link does to a worker, work goes on.

`test_matrix` names the test that proves each row.
"""
