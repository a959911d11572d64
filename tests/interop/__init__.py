"""sipcore against real peers: Kamailio, SIPp, Knot DNS and tshark, on loopback."""
