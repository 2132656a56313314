package parser

// MAC is a hardware address of Ethernet, first byte on the wire first.
type MAC [hardwareLen]byte

// Addr is a protocol address of IPv4, first byte on the wire first.
type Addr [protocolLen]byte

const hexDigits = "0123456789abcdef"

// AppendTo appends the result of [MAC.String] to dst and returns the extended slice. It does not
// allocate if dst has room for 17 bytes.
func (m MAC) AppendTo(dst []byte) []byte {
	for i, b := range m {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hexDigits[b>>4], hexDigits[b&0xf])
	}
	return dst
}

// String returns the address as six pairs of lower-case hexadecimal digits,
// such as 02:aa:00:00:00:05.
func (m MAC) String() string {
	return string(m.AppendTo(make([]byte, 0, len("02:aa:00:00:00:05"))))
}

// AppendTo appends the result of [Addr.String] to dst and returns the extended slice. It does not
// allocate if dst has room for 15 bytes.
func (a Addr) AppendTo(dst []byte) []byte {
	for i, b := range a {
		if i > 0 {
			dst = append(dst, '.')
		}
		if b >= 100 {
			dst = append(dst, '0'+b/100)
		}
		if b >= 10 {
			dst = append(dst, '0'+b/10%10)
		}
		dst = append(dst, '0'+b%10)
	}
	return dst
}

// String returns the address in dotted-decimal form, such as 192.0.2.1.
func (a Addr) String() string {
	return string(a.AppendTo(make([]byte, 0, len("255.255.255.255"))))
}
