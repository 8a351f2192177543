"""Look the tested set of packages up among the known vulnerabilities.

Usage: audit.py CONSTRAINTS. Leaves with 1 when there is a vulnerability, and with 0 when there is
none or when the package index hands out no advisories, which is said.
"""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 300


def main() -> int:
    """Run pip-audit and say in a few lines what it finds."""
    # Names and versions alone: every package is pinned, and nothing is to be installed for this.
    command = [sys.executable, "-m", "pip_audit", "--requirement", sys.argv[1], "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return skip(f"no answer in {SECONDS} seconds")
    except ValueError:
        return skip((done.stderr.strip().splitlines() or ["no answer"])[-1])
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return skip("the package index hands out no advisories")
    found = [(package, one) for package in audited for one in package["vulns"]]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    skipped = len(packages) - len(audited)
    print(f"audited {len(audited)} packages, skipped {skipped}, vulnerabilities: {len(found)}")
    return 1 if found else 0


def skip(reason: str) -> int:
    """Say that nothing was audited."""
    print(f"skipped the audit: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
