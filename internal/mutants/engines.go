package main

// inEngines are those in stores, and in moving them.
var inEngines = []mutant{
	{
		name: "commands that share a statement share a position",
		file: "storage/sqlite/joint.go",
		old:  "r.position = last - int64(len(run)-1-i)",
		new:  "r.position = last - int64(0*i)",
		test: []string{"-run", "TestGroupsAreLikeTurns", "./storage/sqlite"},
	},
	{
		name: "what was found of a command that was taken back stands",
		file: "storage/sqlite/writer.go",
		old:  "\t\t\t\t\tr.err = nil\n",
		new:  "\t\t\t\t\t_ = r\n",
		test: []string{"-run", "TestFirstOfAGroup", "./storage/sqlite"},
	},
	{
		name: "a policy of alph is one of alpha2",
		file: "storage/dynamodb/policy.go",
		old:  `append(patterns, own, own+record.Separator+"*")`,
		new:  `append(patterns, own+"*")`,
		test: []string{"-run", "TestPolicy", "./storage/dynamodb"},
	},
	{
		name: "a policy allows a request without keys",
		file: "storage/dynamodb/policy.go",
		old:  `{"dynamodb:LeadingKeys": "false"}`,
		new:  `{"dynamodb:LeadingKeys": "true"}`,
		test: []string{"-run", "TestPolicy", "./storage/dynamodb"},
	},
	{
		name: "a rewritten item loses what this engine does not know",
		file: "storage/dynamodb/write.go",
		old:  "if w.If.Kind == driver.IfAbsent || w.Collection == driver.System {",
		new:  "if !w.Delete {",
		test: []string{"-run", "TestForeignValuesSurvive", "./storage/dynamodb"},
	},
	{
		name: "a commit whose answer was lost is taken for refused",
		file: "storage/dynamodb/write.go",
		old:  "if made, err := e.made(ctx, l, b); made || err != nil {",
		new:  "if _, err := e.made(ctx, l, b); err != nil {",
		test: []string{"-run", "TestFaults", "./storage/dynamodb"},
	},
	{
		name: "the change log: an append isn't fenced",
		file: "storage/dynamodb/changelog/lease.go",
		old:  `ConditionExpression:      aws.String("#fence = :fence AND #step = :step"),`,
		new:  `ConditionExpression:      aws.String("attribute_exists(#fence) OR #fence = :fence OR #step = :step"),`,
		test: []string{"-run", "TestFencing|TestOlderFence", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: the checkpoint moves outside the transaction",
		file: "storage/dynamodb/changelog/sequencer.go",
		old: `	for sh, becomes := range w.shards {
		writes = append(writes, w.s.put(becomes.row(sh.table)))
	}
	if w.row`,
		new: `	for sh, becomes := range w.shards {
		defer w.s.commit(ctx, next, w.s.put(becomes.row(sh.table)))
	}
	if w.row`,
		test: []string{"-run", "TestCrashAtEveryStep", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: a child is read before its parent",
		file: "storage/dynamodb/changelog/shard.go",
		old:  `return !sh.done && (parent == nil || parent.done)`,
		new:  `return !sh.done && (parent == nil || parent.done || parent.table != nil)`,
		test: []string{"-run", "TestParentsBeforeChildren", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: a belated mark is believed",
		file: "storage/dynamodb/changelog/changelog.go",
		old:  `if seen.began < done &&`,
		new:  `if seen.began <= done &&`,
		test: []string{"-run", "TestBelatedMark|TestPausedSequencer", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: a late write of the holder counts",
		file: "storage/dynamodb/changelog/lease.go",
		old:  `"#fence = :fence AND #step = :step"`,
		new:  `"#fence = :fence AND (#step = :step OR #step > :step)"`,
		test: []string{"-run", "TestLateWrite", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: what a scan found is appended again",
		file: "storage/dynamodb/changelog/sequencer.go",
		old:  `if e.Version <= w.s.known[id] {`,
		new:  `if e.Version < 0 {`,
		test: []string{"-run", "TestTrimmed|TestBootstrap", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: a finding is appended before the stream was read past it",
		file: "storage/dynamodb/changelog/table.go",
		old:  `case began.Sub(t.found.at) < s.cfg.StreamLag:`,
		new:  `case began.Sub(t.found.at) < -time.Hour:`,
		test: []string{"-run", "TestScanWaitsForStream", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: a shard that a stream has forgotten is passed over",
		file: "storage/dynamodb/changelog/shard.go",
		old: `	case errors.As(p.err, &absent):
		p.gap = "the stream has forgotten a shard that was not read to its end"
		return p`,
		new: `	case errors.As(p.err, &absent):
		p.err, p.finished = nil, true
		return p`,
		test: []string{"-run", "TestTrimmed", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: a closed shard needs no child",
		file: "storage/dynamodb/changelog/table.go",
		old:  `if sh.done && !parents[sh.id] || `,
		new:  `if `,
		test: []string{"-run", "TestClosedShard", "./storage/dynamodb/changelog"},
	},
	{
		name: "the change log: a lease is kept until it runs out",
		file: "storage/dynamodb/changelog/lease.go",
		old:  `found.fence == 0 || found.released ||`,
		new:  `found.fence == 0 ||`,
		test: []string{"-run", "TestTakeover", "./storage/dynamodb/changelog"},
	},
	{
		name: "the log is synced without what was gathered for it",
		file: "storage/sqlite/log.go",
		old:  "func (f *logFile) Sync(flags vfs.SyncFlag) error {\n\tif err := f.flush(); err != nil {",
		new:  "func (f *logFile) Sync(flags vfs.SyncFlag) error {\n\tif err := error(nil); err != nil {",
		test: []string{"-run", "TestAcknowledgedSurvivesKill|TestLogWritesACommitAtOnce", "./storage/sqlite"},
	},
	{
		name: "a copy takes rows that differ for compared",
		file: "transfer/ledger.go",
		old:  "theirs[i] != nil && ours[i] != nil && same(theirs[i], ours[i]) {",
		new:  "theirs[i] != nil && ours[i] != nil {",
		test: []string{"-run", "TestComparedBeforeThePause", "./transfer"},
	},
	{
		name: "a copy forgets the rows that it found to differ",
		file: "transfer/ledger.go",
		old:  "\t\t\tif !alike {\n\t\t\t\trow := from",
		new:  "\t\t\tif !alike && c.ledger == nil {\n\t\t\t\trow := from",
		test: []string{"-run", "TestComparedBeforeThePause", "./transfer"},
	},
	{
		name: "a copy takes rows that it changes for compared",
		file: "transfer/ledger.go",
		old:  "if c.ledger == nil {\n\t\treturn nil",
		new:  "if c.ledger == nil || len(writes) > 0 {\n\t\treturn nil",
		test: []string{"-run", "TestComparedBeforeThePause", "./transfer"},
	},
	{
		name: "a copy counts what a row was beside what it is",
		file: "transfer/ledger.go",
		old:  "l.source.remove(was.owner, ref.Collection, was.source)",
		new:  "_ = was.source",
		test: []string{"-run", "TestComparedBeforeThePause", "./transfer"},
	},
	{
		name: "a copy is done although the source went on in the pause",
		file: "transfer/transfer.go",
		old:  "if err == nil && len(late) > 0 {",
		new:  "if err == nil && len(late) > 1 {",
		test: []string{"-run", "TestACommitThatStoodStill", "./transfer"},
	},
	{
		name: "the shards of a partition are put one behind the other",
		file: "storage/dynamodb/read.go",
		old:  "return strings.Compare(a.recs[0].SK, b.recs[0].SK)",
		new:  "return strings.Compare(a.key, b.key)",
		test: []string{"-run", "TestSpreadLists", "./storage/dynamodb"},
	},
	{
		name: "the versions of a record stand in several shards",
		file: "storage/dynamodb/layout.go",
		old:  "l.key(ref.PK, ref.SK); stored != ref.PK",
		new:  "l.key(ref.PK, sortKey(ref)); stored != ref.PK",
		test: []string{"-run", "TestSpreadRows", "./storage/dynamodb"},
	},
	{
		name: "a process believes for ever how partitions are spread",
		file: "storage/dynamodb/layout.go",
		old:  "len(l.coming) == 0 && time.Since(l.looked) < term && time.Now().Round(0).Sub(l.looked.Round(0)) < term",
		new:  "len(l.coming) == 0 || term == 0",
		test: []string{"-run", "TestSpreadWhileOpen", "./storage/dynamodb"},
	},
	{
		name: "a partition that is being spread takes commits",
		file: "storage/dynamodb/write.go",
		old:  "if shardsOf(l.coming, w.Record.PK) > 0 {",
		new:  "if shardsOf(l.coming, w.Record.PK) > MaxShards {",
		test: []string{"-run", "TestSpreadWhileOpen|TestSpreadInterrupted", "./storage/dynamodb"},
	},
	{
		name: "a commit is sent again to where its rows stood before they were spread",
		file: "storage/dynamodb/write.go",
		old:  "now.version != l.version {",
		new:  "now.version < l.version {",
		test: []string{"-run", "TestSpreadEndsAttempts", "./storage/dynamodb"},
	},
	{
		name: "partitions are spread without looking for what was under way",
		file: "storage/dynamodb/spread.go",
		old:  "err := s.unused(ctx, l, spread) // a commit",
		new:  "err := ctx.Err() // a commit",
		test: []string{"-run", "TestSpreadMeetsWhatIsUnderWay", "./storage/dynamodb"},
	},
	{
		name: "the feed names shards instead of partitions",
		file: "storage/dynamodb/feed.go",
		old:  "PK: l.pk(entry.PK)",
		new:  "PK: entry.PK",
		test: []string{"-run", "TestContractSpread/(changes_come|the_keys)", "./storage/dynamodb"},
	},
	{
		name: "PostgreSQL: a table that was declared shows its rows to every tenant",
		file: "storage/postgres/relational.go",
		old:  `OR (SELECT current_setting('tenantry.tenants', true)) = '{#}'` + "`",
		new:  `OR (SELECT current_setting('tenantry.tenants', true)) <> ''` + "`",
		test: []string{"-run", "TestRelational/a_tenant", "./storage/postgres"},
	},
	{
		name: "SQLite: a read model writes the engine's own tables",
		file: "storage/sqlite/relational.go",
		old:  `if may || c.rights == everything {`,
		new:  `if may || c.rights >= everything {`,
		test: []string{"-run", "TestRelational|TestEngineTables", "./storage/sqlite"},
	},
	{
		name: "SQLite: what a read model's transaction left open is committed",
		file: "storage/sqlite/relational.go",
		old:  "func (w *writer) settle() {\n\tw.conn.rollback()",
		new:  "func (w *writer) settle() {\n\tw.conn.exec(\"COMMIT\")\n\tw.conn.rollback()",
		test: []string{"-run", "TestRelational", "./storage/sqlite"},
	},
}
