"""TLS certificates for checks."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Certificates:
    """An authority, and two server certificates that it signed: one for this machine, one for another host."""

    authority: Path
    fit: ssl.SSLContext
    unfit: ssl.SSLContext

    @classmethod
    def make(cls, directory: Path) -> "Certificates":
        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
        openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=checks")

        def signed(name: str, subject: str) -> ssl.SSLContext:
            openssl("req", *new[:5], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            (directory / f"{name}.ext").write_text(f"subjectAltName={subject}\nbasicConstraints=CA:FALSE\n")
            signing = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "30")
            openssl(*signing, "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(directory / f"{name}.pem", directory / f"{name}.key")
            return context

        return cls(directory / "ca.pem", signed("fit", "IP:127.0.0.1"), signed("unfit", "DNS:elsewhere.example"))
