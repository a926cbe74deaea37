// Compares every path that this processor can run with the portable one, and the search on top of
// them with its definition. scripts/test_arm builds and runs it, here and under emulation.
//
// Arguments are the paths that must be there, the best first; without any, whatever there is will do.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "check_loops.hpp"
#include "check_searches.hpp"

int main(int n_wanted, char** wanted) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // what was found is said before a crash
  std::vector<Tally> tallies;
  std::string there, asked;
  for (const Path* path :
       {avx512_path(), avx2_path(), neon_dot_path(), neon_path(), portable_path()}) {
    if (!path) continue;
    tallies.push_back({path});
    there += std::string(" ") + path->name;
  }
  for (int i = 1; i < n_wanted; ++i) asked += std::string(" ") + wanted[i];
  if (!asked.empty() && asked != there) {
    std::printf("paths wanted:%s; this processor has:%s\n", asked.c_str(), there.c_str());
    return 1;
  }
  check_scans(tallies);
  check_hammings(tallies);
  check_int8_dots(tallies);
  check_int8_dots_of_rows(tallies);
  check_sieves(tallies);
  check_lane_dots(tallies);
  check_lane_products(tallies);
  check_sifts(tallies);
  check_searches(tallies);
  bool passed = true;
  for (const Tally& tally : tallies) {
    std::printf("%-8s %zu comparisons, %zu differences\n", tally.path->name, tally.compared,
                tally.different);
    passed = passed && tally.different == 0;
  }
  return passed ? 0 : 1;
}
