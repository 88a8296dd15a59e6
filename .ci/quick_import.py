"""Imported before nbformat, and a plugin of pytest: spares each process two seconds.

nbformat imports jsonschema, which builds a parser for internationalised web addresses where the
package for it is installed (JupyterLab brings it). No notebook's check needs one; without the
package jsonschema leaves that check out.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
