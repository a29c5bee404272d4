/// The rounds of a scenario: ours and the yardstick in turn, the first of them uncounted.
struct Rounds {
  let scenario: Scenario
  let effort: Effort

  func run(_ stage: Stage) async throws -> [Figure] {
    try await stage.settle()
    let (ours, yardstick) = try await scenario.contestants(stage)
    do {
      let rounds = try await measure(ours, yardstick)
      await ours.end()
      await yardstick.end()
      return figures(rounds) + (try await scenario.remarks(stage))
    } catch {
      await ours.end()
      await yardstick.end()
      throw error
    }
  }

  private typealias Round = (ours: Sample, yardstick: Sample)

  private func measure(_ ours: any Contestant, _ yardstick: any Contestant) async throws -> [Round] {
    var rounds: [Round] = []
    for number in 0...min(effort.rounds, scenario.mostRounds) {
      try Task.checkCancellation()
      try await ours.prepareRound()
      try await yardstick.prepareRound()
      let round: Round
      // Who comes second finds the caches, and the disk, as the first has left them: take turns.
      if number.isMultiple(of: 2) {
        let first = try await ours.run(for: effort.roundDuration)
        round = (first, try await yardstick.run(for: effort.roundDuration))
      } else {
        let first = try await yardstick.run(for: effort.roundDuration)
        round = (try await ours.run(for: effort.roundDuration), first)
      }
      if number > 0 { rounds.append(round) }
    }
    return rounds
  }

  private func figures(_ rounds: [Round]) -> [Figure] {
    scenario.comparisons.map { comparison in
      let ours = rounds.map { comparison.value(of: $0.ours) }
      let yardstick = rounds.map { comparison.value(of: $0.yardstick) }
      let ratio = Quartiles(zip(ours, yardstick).map { $0 / $1 })
      return Figure(
        scenario: scenario.name, measure: comparison.measure, rounds: rounds.count, ours: Quartiles(ours).median,
        yardstick: Quartiles(yardstick).median, ratio: ratio.median, lowerQuartile: ratio.lower,
        upperQuartile: ratio.upper, target: comparison.target, isMet: comparison.isMet(by: ratio.median))
    }
  }
}
