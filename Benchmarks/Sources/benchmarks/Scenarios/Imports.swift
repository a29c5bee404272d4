extension Scenario {
  static let importFile = Scenario(
    name: "import", ours: "esctl import of a CSV file", yardstick: "binary COPY of the same rows, 2 connections",
    comparisons: [.throughput(atLeast: 0.3, aim: 0.45)], mostRounds: 3,
    obstacle: { effort in effort.esctl == nil ? "needs --esctl, the path of the tool" : nil }
  ) { stage in
    guard let esctl = stage.effort.esctl else { throw Problem("the import needs --esctl") }
    let rows = stage.effort.rowsToImport
    let file = await stage.path(of: "transactions.csv")
    try BankRow.write(rows, to: file)
    try await stage.yardstick(YardstickTable.events)
    return (
      CommandImport(stage: stage, esctl: esctl, file: file, rows: rows), try CopyImport(stage.url, rows: rows)
    )
  }
}
