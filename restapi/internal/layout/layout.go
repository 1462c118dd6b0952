// Package layout arranges a directed graph in rows, every node below all that point to it.
//
// It is Sugiyama's method in short: the row of a node is the longest path to it, rows that are too long are divided, an
// edge that crosses rows gets a slot in each of them so that it crosses no box, and the order within the rows is improved
// by barycentres.
package layout

import (
	"cmp"
	"slices"
)

// The sizes of a drawing, in its own units.
const (
	BoxWidth  = 168.0
	BoxHeight = 70.0
	across    = 24.0
	down      = 40.0
	margin    = 8.0
	// passing is the width of an edge between boxes.
	passing = 14.0
	// sweeps are enough: the order settles after a few.
	sweeps = 8
)

// Point is a position in a drawing.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Drawing is an arranged graph.
type Drawing struct {
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
	// Boxes are the upper left corners of the nodes.
	Boxes []Point `json:"boxes"`
	Edges []Edge  `json:"edges"`
}

// Edge is a line from the lower side of one box to the upper side of another.
type Edge struct {
	From int     `json:"from"`
	To   int     `json:"to"`
	Line []Point `json:"line"`
}

// slot is a position in a row: a node's, or where an edge passes.
type slot struct {
	node, row     int // the node is -1 for an edge
	before, after []*slot
	centre        float64
}

func (s *slot) width() float64 {
	if s.node < 0 {
		return passing
	}
	return BoxWidth
}

// Arrange arranges nodes 0 to n-1 with at most so many boxes in a row. Edges that close a cycle, or name no nodes, are left
// out.
func Arrange(n int, edges [][2]int, columns int) Drawing {
	edges = slices.DeleteFunc(slices.Clone(edges), func(e [2]int) bool { return min(e[0], e[1]) < 0 || max(e[0], e[1]) >= n })
	edges, ranks := rank(n, edges)
	var rows [][]int // of about the same length
	for _, nodes := range ranks {
		count := (len(nodes)-1)/max(columns, 1) + 1
		rows = slices.AppendSeq(rows, slices.Chunk(nodes, (len(nodes)+count-1)/count))
	}
	table := make([][]*slot, len(rows))
	add := func(node, row int) *slot {
		s := &slot{node: node, row: row}
		table[row] = append(table[row], s)
		return s
	}
	nodes := make([]*slot, n)
	for y, row := range rows {
		for _, node := range row {
			nodes[node] = add(node, y)
		}
	}
	ways := make([][]*slot, len(edges))
	for i, edge := range edges {
		from, to := nodes[edge[0]], nodes[edge[1]]
		way := []*slot{from}
		for y := from.row + 1; y < to.row; y++ {
			way = append(way, add(-1, y))
		}
		ways[i] = append(way, to)
		for k, s := range ways[i][1:] {
			way[k].after = append(way[k].after, s)
			s.before = append(s.before, way[k])
		}
	}
	return draw(nodes, ways, order(table), len(rows))
}

// rank returns the edges without those that close a cycle, and the nodes by the longest path to them.
func rank(n int, edges [][2]int) (acyclic [][2]int, ranks [][]int) {
	parents := make([][]int, n)
	for i, edge := range edges {
		parents[edge[1]] = append(parents[edge[1]], i)
	}
	const unknown, open = -1, -2
	level := slices.Repeat([]int{unknown}, n)
	var find func(node int) int
	find = func(node int) int {
		if level[node] != unknown {
			return level[node]
		}
		level[node] = open
		longest := 0
		for _, i := range parents[node] {
			if above := find(edges[i][0]); above != open {
				acyclic = append(acyclic, edges[i])
				longest = max(longest, above+1)
			}
		}
		level[node] = longest
		return longest
	}
	for node := range n {
		rank := find(node)
		for len(ranks) <= rank {
			ranks = append(ranks, nil)
		}
		ranks[rank] = append(ranks[rank], node)
	}
	return acyclic, ranks
}

// order improves the order within the rows, positions the slots and returns the width.
func order(table [][]*slot) float64 {
	width := 0.0
	for _, row := range table {
		width = max(width, extent(row))
	}
	for range sweeps {
		for _, row := range table {
			place(row, width)
		}
		for _, row := range table {
			arrange(row, width, func(s *slot) []*slot { return s.before })
		}
		for _, row := range slices.Backward(table) {
			arrange(row, width, func(s *slot) []*slot { return s.after })
		}
	}
	return width
}

func extent(row []*slot) float64 {
	total := -across
	for _, s := range row {
		total += s.width() + across
	}
	return total
}

// arrange sorts a row by the mean position of its neighbours in another one.
func arrange(row []*slot, width float64, neighbours func(*slot) []*slot) {
	wanted := map[*slot]float64{}
	for _, s := range row {
		wanted[s] = s.centre
		if near := neighbours(s); len(near) > 0 {
			sum := 0.0
			for _, other := range near {
				sum += other.centre
			}
			wanted[s] = sum / float64(len(near))
		}
	}
	slices.SortStableFunc(row, func(a, b *slot) int { return cmp.Compare(wanted[a], wanted[b]) })
	place(row, width)
}

// place positions the slots of a row side by side, in the middle of the width.
func place(row []*slot, width float64) {
	x := margin + (width-extent(row))/2
	for _, s := range row {
		s.centre = x + s.width()/2
		x += s.width() + across
	}
}

func draw(nodes []*slot, ways [][]*slot, width float64, rows int) Drawing {
	top := func(row int) float64 { return margin + float64(row)*(BoxHeight+down) }
	out := Drawing{
		Width: max(width, 0) + 2*margin, Height: max(top(rows)-down+margin, 2*margin),
		Boxes: make([]Point, len(nodes)), Edges: make([]Edge, len(ways)),
	}
	for node, s := range nodes {
		out.Boxes[node] = Point{s.centre - BoxWidth/2, top(s.row)}
	}
	for i, way := range ways {
		first, last := way[0], way[len(way)-1]
		line := []Point{{first.centre, top(first.row) + BoxHeight}}
		for _, s := range way[1 : len(way)-1] {
			line = append(line, Point{s.centre, top(s.row)}, Point{s.centre, top(s.row) + BoxHeight})
		}
		out.Edges[i] = Edge{first.node, last.node, append(line, Point{last.centre, top(last.row)})}
	}
	return out
}
