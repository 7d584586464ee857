"""The run in the forms that other tools read: JUnit XML, SARIF, annotations of a hosted CI, badges."""
