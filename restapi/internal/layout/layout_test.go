package layout

import (
	"math/rand/v2"
	"testing"
)

// crosses reports whether a line from a to b passes the inside of a box.
func crosses(a, b, box Point) bool {
	const steps = 50
	for i := range steps + 1 {
		t := float64(i) / steps
		x, y := a.X+(b.X-a.X)*t, a.Y+(b.Y-a.Y)*t
		if x > box.X+1 && x < box.X+BoxWidth-1 && y > box.Y+1 && y < box.Y+BoxHeight-1 {
			return true
		}
	}
	return false
}

// Whatever the graph, boxes lie apart and inside, children below their parents, at most so
// many in a row, and no edge crosses a box.
func TestArrange(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		n, columns := 1+random.IntN(30), 1+random.IntN(6)
		var edges [][2]int
		for to := 1; to < n; to++ {
			for range random.IntN(3) {
				edges = append(edges, [2]int{random.IntN(to), to})
			}
		}
		drawn := Arrange(n, edges, columns)
		inRow := map[float64]int{}
		for i, a := range drawn.Boxes {
			inRow[a.Y]++
			if a.X < 0 || a.Y < 0 || a.X+BoxWidth > drawn.Width || a.Y+BoxHeight > drawn.Height {
				t.Errorf("seed %d: box %d is outside: %v of %v by %v", seed, i, a, drawn.Width, drawn.Height)
			}
			for j, b := range drawn.Boxes[:i] {
				if a.Y == b.Y && a.X < b.X+BoxWidth && b.X < a.X+BoxWidth {
					t.Errorf("seed %d: boxes %d and %d overlap", seed, i, j)
				}
			}
		}
		for y, count := range inRow {
			if count > columns {
				t.Errorf("seed %d: %d boxes in the row at %v, want at most %d", seed, count, y, columns)
			}
		}
		if len(drawn.Edges) != len(edges) {
			t.Errorf("seed %d: %d of %d edges", seed, len(drawn.Edges), len(edges))
		}
		for _, edge := range edges {
			if drawn.Boxes[edge[0]].Y >= drawn.Boxes[edge[1]].Y {
				t.Errorf("seed %d: %d is not above %d", seed, edge[0], edge[1])
			}
		}
		for i, edge := range drawn.Edges {
			line := edge.Line
			for k := 1; k < len(line); k++ {
				for node, box := range drawn.Boxes {
					if crosses(line[k-1], line[k], box) {
						t.Errorf("seed %d: edge %d crosses box %d", seed, i, node)
					}
				}
			}
		}
	}
}

func TestArrangeWhatIsNoGraph(t *testing.T) {
	if drawn := Arrange(0, nil, 4); len(drawn.Boxes) != 0 || drawn.Width <= 0 || drawn.Height <= 0 {
		t.Errorf("nothing: %+v", drawn)
	}
	drawn := Arrange(3, [][2]int{{0, 1}, {1, 0}, {1, 1}, {1, 2}, {7, 0}, {-1, 2}}, 0)
	if len(drawn.Boxes) != 3 || len(drawn.Edges) != 2 {
		t.Errorf("circles and strangers: %+v", drawn)
	}
}
