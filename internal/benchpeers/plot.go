package main

import (
	"fmt"
	"math"
	"os"
	"strings"
)

// fullRate is the position of the sender's full rate in the plot, in frames per second.
const fullRate = 1_000_000

// A panel is one plot of a growing cost, with logarithmic axes.
type panel struct {
	title, name, metric string
	ticks               []string
}

var panels = []panel{
	{"CPU, µs per frame, by duplicates per second", "rates", "CPU us/frame", []string{"100", "1k", "10k", "100k", "full"}},
	{"frames lost, %, by duplicates per second", "rates", "lost %", []string{"100", "1k", "10k", "100k", "full"}},
	{"CPU, ns per frame, by bindings", "bindings", "CPU ns/frame", []string{"1k", "10k", "100k", "1M"}},
	{"PSS, MiB, by bindings", "bindings", "PSS MiB", []string{"1k", "10k", "100k", "1M"}},
	{"PSS, MiB, by interfaces", "interfaces", "PSS MiB", []string{"1", "4", "16", "64", "500"}},
	{"CPU, ns per frame at 10,000/s, by interfaces", "interfaces", "CPU ns/frame at 10000/s", []string{"1", "4", "16", "64", "500"}},
}

// colours has the colours of the subjects.
var colours = []struct{ subject, colour string }{
	{ours, "#0072b2"}, {bare, "#666666"}, {tcpdumpPipe, "#d55e00"}, {arpwatch, "#009e73"},
}

// Sizes in the plot, in pixels.
const (
	panelWidth, panelHeight = 420, 260
	left, top, right, below = 60, 40, 20, 40
)

// writePlot draws the panels, two in a row, and a legend.
func (r *results) writePlot(file string) error {
	var b strings.Builder
	rows := (len(panels) + 1) / 2
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		2*panelWidth, rows*panelHeight+30)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%2*panelWidth, i/2*panelHeight)
		r.draw(&b, p)
		b.WriteString("</g>\n")
	}
	for i, c := range colours {
		x, y := left+i*180, rows*panelHeight+12
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="5" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n", x, y, c.colour, x+10, y+4, c.subject)
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// draw draws one panel. The points of a subject are in the order of x, one per tick.
func (r *results) draw(b *strings.Builder, p panel) {
	low, high := math.Inf(1), math.Inf(-1)
	zeros := false
	for _, m := range r.Measurements {
		if m.Case != p.name || m.Metric != p.metric {
			continue
		}
		if m.Median > 0 {
			low, high = min(low, m.Median), max(high, m.Median)
		}
		zeros = zeros || m.Median == 0
	}
	if low > high { // only zeros
		low, high = 0.1, 1
	}
	low, high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high)+1e-9)
	if zeros {
		low-- // the lowest line stands for zero, which has no place on a logarithmic axis
	}
	x := func(i int) float64 {
		return left + float64(i)*(panelWidth-left-right)/float64(len(p.ticks)-1)
	}
	y := func(v float64) float64 {
		at := (math.Log10(max(v, math.Pow(10, low))) - low) / (high - low)
		return panelHeight - below - at*(panelHeight-top-below)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", left, top-16, p.title)
	for e := low; e <= high; e++ {
		v := math.Pow(10, e)
		if zeros && e == low {
			v = 0
		}
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			left, panelWidth-right, y(v), y(v), left-6, y(v)+4, v)
	}
	for i, t := range p.ticks {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(i), panelHeight-below+18, t)
	}
	for _, c := range colours {
		var points []string
		i := 0
		for _, m := range r.Measurements {
			if m.Case != p.name || m.Metric != p.metric || m.Subject != c.subject {
				continue
			}
			if m.Median >= 0 {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(i), y(m.Median)))
			}
			i++
		}
		if len(points) == 0 {
			continue
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), c.colour)
		for _, at := range points {
			xy := strings.Split(at, ",")
			fmt.Fprintf(b, `<circle cx="%s" cy="%s" r="3" fill="%s"/>`+"\n", xy[0], xy[1], c.colour)
		}
	}
}
