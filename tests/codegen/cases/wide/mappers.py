"""What the values of mapped fields may be."""

EXAMPLES = {
    "AJobWithARatherLongNameThatMakesLinesLong."
    "the_fifth_field_with_a_rather_long_name_indeed": [[], ["a"]]
}
