"""pyspf-milter, which asks one name server: spf_milter.py ADDRESS PORT CONFIGURATION."""

import sys

import dns.resolver

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [sys.argv[1]], int(sys.argv[2])
dns.resolver.default_resolver = resolver

from spf_engine import milter_spf

sys.argv = ["pyspf-milter", sys.argv[3]]
milter_spf.main()
