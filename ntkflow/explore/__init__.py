"""A page to play with: sliders over the symmetric sector, integrated in the page, beside what the theory foretells."""
