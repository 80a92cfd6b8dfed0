package analysis

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/ast/edge"
	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/cfg"
)

// variableUses says what each mention of a local variable does to it. A mention that is neither a read nor a write, a
// method call on the variable or a result beside an error, passes its value to nobody.
type variableUses struct {
	reads, writes map[*ast.Ident]bool
}

func usesOf(info *types.Info, body inspector.Cursor, v *types.Var) variableUses {
	uses := variableUses{reads: map[*ast.Ident]bool{}, writes: map[*ast.Ident]bool{}}
	for cur := range body.Preorder((*ast.Ident)(nil)) {
		ident := cur.Node().(*ast.Ident)
		if info.Uses[ident] != v {
			continue
		}
		switch cur.ParentEdgeKind() {
		case edge.AssignStmt_Lhs, edge.RangeStmt_Key, edge.RangeStmt_Value:
			uses.writes[ident] = true
		case edge.UnaryExpr_X:
			uses.writes[ident] = true // &v, the only operator that a struct has: who holds the address may write
		case edge.SelectorExpr_X:
		default:
			uses.reads[ident] = !besideRefusal(info, cur)
		}
	}
	return uses
}

// earlyRead returns a read in body that some path from the declaration reaches before a write, or nil. Conditions are not
// evaluated: both branches of an if are paths.
func (u variableUses) earlyRead(body *ast.BlockStmt, declaration *ast.ValueSpec) *ast.Ident {
	graph := cfg.New(body, mayReturn)
	seen := make(map[*cfg.Block]bool)
	var follow func(b *cfg.Block, nodes []ast.Node) *ast.Ident
	follow = func(b *cfg.Block, nodes []ast.Node) *ast.Ident {
		for _, n := range nodes {
			read, written := u.effect(n)
			if read != nil || written {
				return read
			}
		}
		for _, next := range b.Succs {
			if seen[next] {
				continue
			}
			seen[next] = true
			if read := follow(next, next.Nodes); read != nil {
				return read
			}
		}
		return nil
	}
	for _, b := range graph.Blocks {
		for i, n := range b.Nodes {
			if n == declaration {
				return follow(b, b.Nodes[i+1:])
			}
		}
	}
	return nil
}

// effect returns the first read in n, and whether n writes. A function literal runs later if ever, so that its reads don't
// count; one that writes counts as a write.
func (u variableUses) effect(n ast.Node) (read *ast.Ident, written bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			for ident := range u.writes {
				written = written || n.Pos() <= ident.Pos() && ident.Pos() < n.End()
			}
			return false
		case *ast.Ident:
			written = written || u.writes[n]
			if read == nil && u.reads[n] {
				read = n
			}
		}
		return true
	})
	return read, written
}

// mayReturn reports false for calls of panic, the one function that never returns and needs no type to be known by.
func mayReturn(call *ast.CallExpr) bool {
	fun, ok := call.Fun.(*ast.Ident)
	return !ok || fun.Name != "panic"
}
